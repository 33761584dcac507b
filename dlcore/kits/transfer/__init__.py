"""What pages of transfer learning share: fine-tuning with few labels, episodes of few-shot learning."""
