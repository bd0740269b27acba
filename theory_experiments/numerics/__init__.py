"""What the experiments compute with: closed forms, searches, tests of a point, fits. It knows no experiment."""
