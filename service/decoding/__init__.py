"""Turn the bytes of an image into a sample: in threads of a frontend, or in decoder processes that can be killed.

`stages` chooses where, `preparation` is the work itself, and `process` imports neither a server nor torch.
"""
