"""The benchmark ``surgery``: do captions say what a classifier goes by?"""
