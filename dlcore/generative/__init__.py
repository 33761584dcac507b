"""Generative models: learners that draw new examples."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "Denoise": "samplers",
        "Discriminator": "dcgan",
        "GANState": "gan",
        "Generator": "dcgan",
        "Noise": "samplers",
        "PointDiscriminator": "ring",
        "PointGenerator": "ring",
        "ResidualBlock": "unet",
        "SAMPLERS": "ddpm",
        "SCHEDULES": "schedules",
        "SelfAttention": "unet",
        "UNet": "unet",
        "add_noise": "schedules",
        "alphas_cumprod": "schedules",
        "cosine_betas": "schedules",
        "ddim_sample": "samplers",
        "ddpm_sample": "samplers",
        "denormalize": "pixels",
        "dpmpp_sample": "dpm_solver",
        "integrate": "samplers",
        "linear_betas": "schedules",
        "normalize": "pixels",
        "num_levels": "dcgan",
        "predict_x0": "samplers",
        "ring_centers": "ring",
        "ring_points": "ring",
        "sample": "ddpm",
        "scaled_linear_betas": "schedules",
        "timestep_embedding": "unet",
        "timesteps": "samplers",
    },
)
