"""Categories of each layout, made for tests, and how they are told."""

from tests.support.image_files import put_image, put_mask


def put_mvtec(root):
    for name in ("002.png", "000.png", "001.png"):
        put_image(root / "train" / "good" / name)
    put_image(root / "test" / "good" / "000.png")
    for index in ("000", "001"):
        put_image(root / "test" / "scratch" / f"{index}.png")
        put_mask(root / "ground_truth" / "scratch" / f"{index}_mask.png")
    put_image(root / "test" / "dent" / "000.jpg")
    put_mask(root / "ground_truth" / "dent" / "000.bmp")
    return root


def put_btad(root):
    for name in ("0001.bmp", "0000.bmp"):
        put_image(root / "train" / "ok" / name)
    put_image(root / "test" / "ok" / "0002.bmp")
    put_image(root / "test" / "ko" / "0003.bmp")
    put_mask(root / "ground_truth" / "ko" / "0003.png")
    return root


def put_visa(root, normal=25):
    for index in range(normal):
        put_image(root / "Data" / "Images" / "Normal" / f"{index:04}.JPG")
    for index in range(2):
        put_image(root / "Data" / "Images" / "Anomaly" / f"{index:03}.JPG")
        put_mask(root / "Data" / "Masks" / "Anomaly" / f"{index:03}.png")
    return root


def put_visa_table(root, category, rows):
    table = root / "split_csv" / "1cls.csv"
    table.parent.mkdir(exist_ok=True)
    lines = ["object,split,label,image,mask", "other,train,normal,other/Data/Images/Normal/0.JPG,"]
    for split, image, mask in rows:
        label = "normal" if "Normal" in image else "anomaly"
        images = f"{category}/Data/Images/{image}"
        masks = f"{category}/Data/Masks/{mask}" if mask else ""
        lines.append(f"{category},{split},{label},{images},{masks}")
    table.write_text("\n".join(lines) + "\n")
    return table


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def left_out(category):
    root = category.root
    return {item.path.relative_to(root).as_posix(): item.reason for item in category.left_out}
