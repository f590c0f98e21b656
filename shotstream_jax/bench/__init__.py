"""How fast each part of the model runs, and how near to what the device can do."""
