"""What the broker says no with."""


class Refused(Exception):
    """Becomes the error envelope: HTTP `status`, `error_type`, and the message as users see it at the broker."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message

    @classmethod
    def input(cls, message: str) -> "Refused":
        return cls(400, "InputException", message)

    @classmethod
    def token(cls, message: str) -> "Refused":
        return cls(403, "TokenException", message)

    @classmethod
    def permission(cls, message: str) -> "Refused":
        return cls(403, "PermissionException", message)

    @classmethod
    def too_many(cls, message: str = "Too many requests") -> "Refused":
        return cls(429, "NetworkException", message)
