# module
from helper import value
