"""What training does to latents: techniques that go on any tokenizer, and the functions that they are made of."""
