# module
value = 1
