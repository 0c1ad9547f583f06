"""Networks from latents to pixels."""
