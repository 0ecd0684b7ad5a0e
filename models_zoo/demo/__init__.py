"""The packaged demo model and how it was made (`card.md`)."""
