"""A generated person: how it moves (`motion`) and how it looks (`scene`)."""
