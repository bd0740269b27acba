"""The page of all networks, from the tables and numbers that their folders hold and from nothing else."""
