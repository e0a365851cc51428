# module
value = 5
