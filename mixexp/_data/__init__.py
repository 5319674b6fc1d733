"""Small tables shipped with mixexp, each with a text on its origin and licence."""
