"""One package for each experiment.

``__init__`` states the claim, its hypotheses, its source, its negative controls and what was learnt, and explains the
figure. ``config`` has the sizes and the negative controls, ``figure`` draws. The other files measure and make claims.
"""
