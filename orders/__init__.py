"""Orders that happen once. The app holds its place in the import order; its models and services come with it."""
