"""One short notebook for each chapter of the book, in the percent form that jupytext and most editors open."""
