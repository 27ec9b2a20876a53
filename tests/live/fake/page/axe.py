"""What axe finds on a page."""

from __future__ import annotations

from playwright.async_api import Page


async def findings(page: Page, axe: str) -> list[str]:
    """All findings, each with the first elements at fault. The page's policy must be bypassed."""
    await page.evaluate(axe)
    # Colours that are on their way to others are not judged.
    await page.wait_for_function("document.getAnimations().every((one) => one.effect.getTiming().iterations > 1)")
    found = await page.evaluate("axe.run().then(({ violations }) => violations)")
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}\n  "
        + "\n  ".join(node["html"][:200] for node in rule["nodes"][:5])
        for rule in found
    ]
