"""Files: pictures, weights, lines; and what makes writing them safe."""
