# module
other = 10
