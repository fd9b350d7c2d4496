"""What stands in for a cloud on a laptop and in tests, over the real protocols.

Each stand-in is a server of its own that is reached by its endpoint only: nothing outside this package may import it.
"""
