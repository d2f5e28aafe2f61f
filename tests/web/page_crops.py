"""What the gallery of the page's tests holds."""

LOOPBACK_URL = "http://127.0.0.1:8000"
NAMES = [f"cam{n % 3 + 1}/{n:02}.png" for n in range(12)]
CAMERAS = [n % 3 + 1 for n in range(12)]
TIMES = [f"2026-01-02T03:04:{n:02}" for n in range(12)]
THRESHOLD = {
    "distance": 0.1, "false_match_rate": 0.01, "interval": [0.05, 0.2], "slope": 40.0,
    "offset": -4.0, "people": 9,
    "held_out": {"false_match_rate": 0.01, "true_match_rate": 0.5, "calibration_error": 0.1},
}  # fmt: skip
