"""Tools of the experiments: closed forms, searches, tests of a point, fits. This package imports no experiment."""
