"""Which code made a result."""

from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """The versions of kmod and of the libraries that results depend on."""
    found = {}
    for package in ("kmod", "torch", "transformers", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
