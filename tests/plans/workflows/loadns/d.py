# module
four = 2 * 2
