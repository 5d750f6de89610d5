from fake_generator import scanned

__all__ = ["scanned"]
