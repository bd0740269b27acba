"""A trained network beside the model: the same metrics, on clocks that both have, and what each says of the other."""
