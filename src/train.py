from src.cli import launch
def body(c):
    from src.config import flatten
    print(flatten(c)); return 0.0
if __name__ == "__main__":
    launch("train", "config", body)
