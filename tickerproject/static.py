"""Static files with hashed names, ES modules' imports included."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # whitenoise has no types
    """Rewrites `import … from "./x.js"` too, so that a changed module is never served beside an old one."""

    support_js_module_import_aggregation = True
