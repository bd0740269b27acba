"""Real networks beside the model: ResNet18 and VGG-13 trained without weight decay, measured and compared with it."""
