# module
value = 2
