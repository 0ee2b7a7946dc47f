"""An artifact as a version of a registered model: kept, found, compared, promoted."""
