"""The 38 classifiers of zero-shot natural language explanations, Table 13 (Sammani and Deligiannis, ICLR 2025).

Paper's name, source, and the weights that the name stands for. Several names share an architecture; each is listed,
since each is a thing a user may ask for. The paper names no identifiers: "v2" and "pt" are our reading.
"""

TV1, TV2 = "IMAGENET1K_V1", "IMAGENET1K_V2"

ZOO: list[tuple[str, str, str]] = [
    ("ResNet50", "torchvision:resnet50", TV1),
    ("ResNet101", "torchvision:resnet101", TV1),
    ("ResNet50v2", "torchvision:resnet50", TV2),
    ("ResNet101v2", "torchvision:resnet101", TV2),
    ("WideResNet50", "torchvision:wide_resnet50_2", TV1),
    ("WideResNet50v2", "torchvision:wide_resnet50_2", TV2),
    ("WideResNet101", "torchvision:wide_resnet101_2", TV1),
    ("WideResNet101v2", "torchvision:wide_resnet101_2", TV2),
    ("ResNeXt50 32x4d", "torchvision:resnext50_32x4d", TV1),
    ("ResNeXt50 32x4d v2", "torchvision:resnext50_32x4d", TV2),
    ("ResNeXt101 64x4d", "torchvision:resnext101_64x4d", TV1),
    ("ResNeXt101 32x8d", "torchvision:resnext101_32x8d", TV1),
    ("ResNeXt101 32x8d v2", "torchvision:resnext101_32x8d", TV2),
    ("DenseNet121", "torchvision:densenet121", TV1),
    ("DenseNet161", "torchvision:densenet161", TV1),
    ("EfficientNetv2-S", "torchvision:efficientnet_v2_s", TV1),
    ("EfficientNetv2-M", "torchvision:efficientnet_v2_m", TV1),
    ("ShuffleNetv2 x2.0", "torchvision:shufflenet_v2_x2_0", TV1),
    ("ConvNeXt-Tiny", "torchvision:convnext_tiny", TV1),
    ("ConvNeXt-Small", "torchvision:convnext_small", TV1),
    ("ConvNeXt-Base", "torchvision:convnext_base", TV1),
    ("MobileNetv3-L", "torchvision:mobilenet_v3_large", TV2),
    ("ViT-B/32", "torchvision:vit_b_32", TV1),
    ("ViT-B/16 v2", "torchvision:vit_b_16", "IMAGENET1K_SWAG_E2E_V1"),
    ("ViT-L/32", "torchvision:vit_l_32", TV1),
    ("ViT-L/16", "torchvision:vit_l_16", TV1),
    ("Swin-T", "torchvision:swin_t", TV1),
    ("Swin-S", "torchvision:swin_s", TV1),
    ("ViT-B/16 pt", "timm:vit_base_patch16_224", "augreg2_in21k_ft_in1k"),
    ("BeiT-B/16", "timm:beit_base_patch16_224", "in22k_ft_in22k_in1k"),
    ("BeiT-L/16", "timm:beit_large_patch16_224", "in22k_ft_in22k_in1k"),
    ("DINOv2-S", "hf:dinov2-small-imagenet1k-1-layer", "facebook/dinov2-small-imagenet1k-1-layer"),
    ("DINOv2-B", "hf:dinov2-base-imagenet1k-1-layer", "facebook/dinov2-base-imagenet1k-1-layer"),
    ("CvT-21", "hf:cvt-21", "microsoft/cvt-21"),
    ("ConvNeXt-B pt", "timm:convnext_base", "fb_in22k_ft_in1k"),
    ("ConvNeXtV2-B", "timm:convnextv2_base", "fcmae_ft_in1k"),
    ("ConvNeXtV2-B pt", "timm:convnextv2_base", "fcmae_ft_in22k_in1k"),
    ("ConvNeXtV2-B pt 384", "timm:convnextv2_base", "fcmae_ft_in22k_in1k_384"),
]
