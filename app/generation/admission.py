"""What a request to generate passes on either wire, once it has been prepared: its tokens, then its place.

Does not know the wires.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.observability.outcome import Wire
from app.services import Services
from engine.api import Prepared
from engine.deadlines import Deadlines
from engine.generation import Generation


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. `owner` is the API key's label, None without keys; `client` is whose limits hold: the owner's, or else
    an address's."""

    owner: str | None
    client: str

    @classmethod
    def of(cls, owner: str | None, address: str | None) -> Asker:
        """Without keys, an address is all that is known of who asks."""
        return cls(owner, owner or address or "")


async def run_admitted(
    services: Services, prepared: Prepared, wire: Wire, asker: Asker, deadlines: Deadlines
) -> Generation:
    """Take the prompt's tokens and put the request into the engine; what it makes is counted, too.

    The caller closes what it gets. Raises `TwowireError`; then nothing is held, and nothing was taken.
    """
    services.rates.reserve(asker.client, prepared.prompt_tokens)
    try:
        observer = services.metrics.wires[wire]
        generation = await services.manager.run(
            prepared, observer, asker.owner, client=asker.client, deadlines=deadlines
        )
    except BaseException:
        services.rates.spend(asker.client, -prepared.prompt_tokens)
        raise
    services.rates.follow(asker.client, generation)
    return generation
