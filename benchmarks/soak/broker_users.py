"""The simulated broker's users for a soak, each with an app of its own: data budgets are counted by app."""

from collections.abc import Iterable
from dataclasses import dataclass

TOTP_SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CASH = 1e11  # so much that no order fails for it


@dataclass(frozen=True, slots=True)
class Trader:
    """A user of the simulator and the app that is registered for it. The secrets open nothing else."""

    number: int

    @property
    def user_id(self) -> str:
        return f"SK{self.number:04d}"

    @property
    def api_key(self) -> str:
        return f"soakkey{self.number}"

    @property
    def api_secret(self) -> str:
        return f"soaksecret{self.number}"

    @property
    def password(self) -> str:
        return f"soak-{self.number}"


def accounts_file(traders: Iterable[Trader]) -> str:
    """What `SIMULATOR_ACCOUNTS_FILE` takes."""
    return "\n".join(
        f'[[users]]\nuser_id = "{one.user_id}"\npassword = "{one.password}"\ntotp_secret = "{TOTP_SEED}"\n'
        f"cash = {CASH:.1f}\nholdings = {{}}\n"
        f'[[apps]]\napi_key = "{one.api_key}"\napi_secret = "{one.api_secret}"\n'
        f'redirect_url = "http://127.0.0.1:1/"\n'
        for one in traders
    )
