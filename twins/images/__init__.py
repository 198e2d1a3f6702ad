"""Image files to pixels.

Every rule about untrusted images lives here. What a model does with the pixels does not.
"""
