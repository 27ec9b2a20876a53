"""Measures how smoothly a page draws."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page


async def frames(page: Page, action: str) -> dict[str, Any]:
    """The milliseconds between frames while `action`, a script, comes about, and the tasks of more than 50 ms."""
    measured: dict[str, Any] = await page.evaluate(
        """async (action) => {
          const gaps = [], longTasks = [];
          const observer = new PerformanceObserver((list) => {
            for (const { duration } of list.getEntries()) longTasks.push(duration);
          });
          observer.observe({ entryTypes: ["longtask"] });
          let last = performance.now(), isOver = false;
          const tick = (now) => { gaps.push(now - last); last = now; if (!isOver) requestAnimationFrame(tick); };
          requestAnimationFrame(tick);
          await new (Object.getPrototypeOf(async () => {}).constructor)(action)();
          isOver = true;
          observer.disconnect();
          gaps.sort((a, b) => a - b);
          const at = (share) => Math.round(gaps[Math.floor((gaps.length - 1) * share)] * 10) / 10;
          return { frames: gaps.length, median: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1), longTasks };
        }""",
        action,
    )
    return measured
