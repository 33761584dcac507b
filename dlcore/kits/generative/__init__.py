"""What pages of generative models share: real images, samples and distances, prompts, latents, pairs of images."""
