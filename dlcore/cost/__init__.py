"""What a program costs: layers, multiply-adds, memory, receptive fields, collectives, roofline."""
