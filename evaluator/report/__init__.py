"""One HTML page of one or several evaluations: tables, figures and images, no script."""
