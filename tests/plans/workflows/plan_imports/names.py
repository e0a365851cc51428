# module
NAMES = ['ann', 'bob']
