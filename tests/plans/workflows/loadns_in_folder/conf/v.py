# module
from path import Path
from helper import value
where = Path('data.txt')
