from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MaskSize(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_SIZE_UNSPECIFIED: _ClassVar[MaskSize]
    MASK_SIZE_ORIGINAL: _ClassVar[MaskSize]
    MASK_SIZE_MODEL: _ClassVar[MaskSize]

class MaskFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_FORMAT_UNSPECIFIED: _ClassVar[MaskFormat]
    MASK_FORMAT_PNG: _ClassVar[MaskFormat]
    MASK_FORMAT_PALETTE: _ClassVar[MaskFormat]
    MASK_FORMAT_OVERLAY_PNG: _ClassVar[MaskFormat]
    MASK_FORMAT_OVERLAY_JPEG: _ClassVar[MaskFormat]
    MASK_FORMAT_NPY: _ClassVar[MaskFormat]
    MASK_FORMAT_RLE: _ClassVar[MaskFormat]
    MASK_FORMAT_NONE: _ClassVar[MaskFormat]

class InstanceMasks(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INSTANCE_MASKS_UNSPECIFIED: _ClassVar[InstanceMasks]
    INSTANCE_MASKS_RLE: _ClassVar[InstanceMasks]
    INSTANCE_MASKS_POLYGONS: _ClassVar[InstanceMasks]
    INSTANCE_MASKS_PNG: _ClassVar[InstanceMasks]
    INSTANCE_MASKS_NONE: _ClassVar[InstanceMasks]

class DetectFile(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DETECT_FILE_UNSPECIFIED: _ClassVar[DetectFile]
    DETECT_FILE_OVERLAY_PNG: _ClassVar[DetectFile]
    DETECT_FILE_OVERLAY_JPEG: _ClassVar[DetectFile]
    DETECT_FILE_NPY: _ClassVar[DetectFile]
MASK_SIZE_UNSPECIFIED: MaskSize
MASK_SIZE_ORIGINAL: MaskSize
MASK_SIZE_MODEL: MaskSize
MASK_FORMAT_UNSPECIFIED: MaskFormat
MASK_FORMAT_PNG: MaskFormat
MASK_FORMAT_PALETTE: MaskFormat
MASK_FORMAT_OVERLAY_PNG: MaskFormat
MASK_FORMAT_OVERLAY_JPEG: MaskFormat
MASK_FORMAT_NPY: MaskFormat
MASK_FORMAT_RLE: MaskFormat
MASK_FORMAT_NONE: MaskFormat
INSTANCE_MASKS_UNSPECIFIED: InstanceMasks
INSTANCE_MASKS_RLE: InstanceMasks
INSTANCE_MASKS_POLYGONS: InstanceMasks
INSTANCE_MASKS_PNG: InstanceMasks
INSTANCE_MASKS_NONE: InstanceMasks
DETECT_FILE_UNSPECIFIED: DetectFile
DETECT_FILE_OVERLAY_PNG: DetectFile
DETECT_FILE_OVERLAY_JPEG: DetectFile
DETECT_FILE_NPY: DetectFile

class ClassifyRequest(_message.Message):
    __slots__ = ("image", "model", "top_k", "id")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    model: str
    top_k: int
    id: str
    def __init__(self, image: _Optional[bytes] = ..., model: _Optional[str] = ..., top_k: _Optional[int] = ..., id: _Optional[str] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("id", "model", "predictions", "timing")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    timing: Timing
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("label", "class_id", "score", "synset")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SYNSET_FIELD_NUMBER: _ClassVar[int]
    label: str
    class_id: int
    score: float
    synset: str
    def __init__(self, label: _Optional[str] = ..., class_id: _Optional[int] = ..., score: _Optional[float] = ..., synset: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("decode", "preprocess", "queue", "infer", "postprocess", "decode_queue")
    DECODE_FIELD_NUMBER: _ClassVar[int]
    PREPROCESS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INFER_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESS_FIELD_NUMBER: _ClassVar[int]
    DECODE_QUEUE_FIELD_NUMBER: _ClassVar[int]
    decode: float
    preprocess: float
    queue: float
    infer: float
    postprocess: float
    decode_queue: float
    def __init__(self, decode: _Optional[float] = ..., preprocess: _Optional[float] = ..., queue: _Optional[float] = ..., infer: _Optional[float] = ..., postprocess: _Optional[float] = ..., decode_queue: _Optional[float] = ...) -> None: ...

class ClassifyStreamResponse(_message.Message):
    __slots__ = ("id", "result", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    result: ClassifyResponse
    error: Error
    def __init__(self, id: _Optional[str] = ..., result: _Optional[_Union[ClassifyResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "detail", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    retry_after: int
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ..., retry_after: _Optional[int] = ...) -> None: ...

class SegmentRequest(_message.Message):
    __slots__ = ("image", "model", "id", "size", "classes", "threshold", "confidence", "format", "opacity")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    OPACITY_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    model: str
    id: str
    size: MaskSize
    classes: _containers.RepeatedScalarFieldContainer[str]
    threshold: float
    confidence: bool
    format: MaskFormat
    opacity: float
    def __init__(self, image: _Optional[bytes] = ..., model: _Optional[str] = ..., id: _Optional[str] = ..., size: _Optional[_Union[MaskSize, str]] = ..., classes: _Optional[_Iterable[str]] = ..., threshold: _Optional[float] = ..., confidence: _Optional[bool] = ..., format: _Optional[_Union[MaskFormat, str]] = ..., opacity: _Optional[float] = ...) -> None: ...

class SegmentResponse(_message.Message):
    __slots__ = ("id", "model", "height", "width", "classes", "mask", "media_type", "timing")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    height: int
    width: int
    classes: _containers.RepeatedCompositeFieldContainer[Region]
    mask: bytes
    media_type: str
    timing: Timing
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[Region, _Mapping]]] = ..., mask: _Optional[bytes] = ..., media_type: _Optional[str] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("class_id", "label", "colour", "pixels", "share", "box", "confidence", "rle")
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    COLOUR_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    class_id: int
    label: str
    colour: str
    pixels: int
    share: float
    box: Box
    confidence: float
    rle: str
    def __init__(self, class_id: _Optional[int] = ..., label: _Optional[str] = ..., colour: _Optional[str] = ..., pixels: _Optional[int] = ..., share: _Optional[float] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., confidence: _Optional[float] = ..., rle: _Optional[str] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: int
    top: int
    right: int
    bottom: int
    def __init__(self, left: _Optional[int] = ..., top: _Optional[int] = ..., right: _Optional[int] = ..., bottom: _Optional[int] = ...) -> None: ...

class SegmentStreamResponse(_message.Message):
    __slots__ = ("id", "result", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    result: SegmentResponse
    error: Error
    def __init__(self, id: _Optional[str] = ..., result: _Optional[_Union[SegmentResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class DetectRequest(_message.Message):
    __slots__ = ("image", "model", "id", "threshold", "max_detections", "classes", "iou_threshold", "masks", "file", "opacity")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    IOU_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    OPACITY_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    model: str
    id: str
    threshold: float
    max_detections: int
    classes: _containers.RepeatedScalarFieldContainer[str]
    iou_threshold: float
    masks: InstanceMasks
    file: DetectFile
    opacity: float
    def __init__(self, image: _Optional[bytes] = ..., model: _Optional[str] = ..., id: _Optional[str] = ..., threshold: _Optional[float] = ..., max_detections: _Optional[int] = ..., classes: _Optional[_Iterable[str]] = ..., iou_threshold: _Optional[float] = ..., masks: _Optional[_Union[InstanceMasks, str]] = ..., file: _Optional[_Union[DetectFile, str]] = ..., opacity: _Optional[float] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("id", "model", "height", "width", "detections", "file", "media_type", "timing")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    height: int
    width: int
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    file: bytes
    media_type: str
    timing: Timing
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ..., file: _Optional[bytes] = ..., media_type: _Optional[str] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("class_id", "label", "score", "box", "rle", "polygons", "png")
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    RLE_FIELD_NUMBER: _ClassVar[int]
    POLYGONS_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    class_id: int
    label: str
    score: float
    box: ExactBox
    rle: str
    polygons: _containers.RepeatedCompositeFieldContainer[Polygon]
    png: PngMask
    def __init__(self, class_id: _Optional[int] = ..., label: _Optional[str] = ..., score: _Optional[float] = ..., box: _Optional[_Union[ExactBox, _Mapping]] = ..., rle: _Optional[str] = ..., polygons: _Optional[_Iterable[_Union[Polygon, _Mapping]]] = ..., png: _Optional[_Union[PngMask, _Mapping]] = ...) -> None: ...

class ExactBox(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    right: float
    bottom: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ...) -> None: ...

class Polygon(_message.Message):
    __slots__ = ("outline", "holes")
    OUTLINE_FIELD_NUMBER: _ClassVar[int]
    HOLES_FIELD_NUMBER: _ClassVar[int]
    outline: Ring
    holes: _containers.RepeatedCompositeFieldContainer[Ring]
    def __init__(self, outline: _Optional[_Union[Ring, _Mapping]] = ..., holes: _Optional[_Iterable[_Union[Ring, _Mapping]]] = ...) -> None: ...

class Ring(_message.Message):
    __slots__ = ("corners",)
    CORNERS_FIELD_NUMBER: _ClassVar[int]
    corners: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, corners: _Optional[_Iterable[int]] = ...) -> None: ...

class PngMask(_message.Message):
    __slots__ = ("left", "top", "png")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    left: int
    top: int
    png: bytes
    def __init__(self, left: _Optional[int] = ..., top: _Optional[int] = ..., png: _Optional[bytes] = ...) -> None: ...

class DetectStreamResponse(_message.Message):
    __slots__ = ("id", "result", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    result: DetectResponse
    error: Error
    def __init__(self, id: _Optional[str] = ..., result: _Optional[_Union[DetectResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("image", "model", "id", "normalize")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    model: str
    id: str
    normalize: bool
    def __init__(self, image: _Optional[bytes] = ..., model: _Optional[str] = ..., id: _Optional[str] = ..., normalize: _Optional[bool] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("id", "model", "embedding", "timing")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    embedding: _containers.RepeatedScalarFieldContainer[float]
    timing: Timing
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., embedding: _Optional[_Iterable[float]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class EmbedStreamResponse(_message.Message):
    __slots__ = ("id", "result", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    result: EmbedResponse
    error: Error
    def __init__(self, id: _Optional[str] = ..., result: _Optional[_Union[EmbedResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "task", "variant", "labels", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    task: str
    variant: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    version: str
    def __init__(self, name: _Optional[str] = ..., task: _Optional[str] = ..., variant: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ...) -> None: ...
