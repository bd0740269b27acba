"""The page of all networks, made from the tables and numbers in their folders."""
