"""Networks from pixels to latents."""
