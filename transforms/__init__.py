"""What happens to data: one package a stage, and in each a kernel, a specification and its Beam transforms.

Names are loaded where they are first used, so that a kernel can be had without Beam.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
