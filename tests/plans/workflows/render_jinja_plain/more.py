# module
items = [i * i for i in range(3)]
