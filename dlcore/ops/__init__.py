"""Parameter-free array functions."""

from dlcore.ops.adaptive_pooling import adaptive_avg_pool, adaptive_max_pool
from dlcore.ops.arithmetic import (
    conv_macs,
    conv_output_size,
    conv_parameters,
    conv_transpose_output_size,
    effective_kernel_size,
    receptive_field,
    same_padding,
)
from dlcore.ops.assignment import assign
from dlcore.ops.boxes import (
    box_angle,
    box_area,
    box_convert,
    box_iou,
    box_union,
    boxes_to_distances,
    clip_boxes,
    complete_box_iou,
    decode_boxes,
    distance_box_iou,
    distances_to_boxes,
    encode_boxes,
    generalized_box_iou,
    masks_to_boxes,
    paired_box_iou,
    resize_boxes,
)
from dlcore.ops.camera import (
    camera_center,
    camera_matrix,
    check_intrinsics,
    convert_extrinsics,
    distort,
    intrinsic_matrix,
    look_at,
    pixel_grid,
    pixel_rays,
    pixels_to_plane,
    plane_to_pixels,
    project,
    rotation_from_vector,
    undistort,
    unproject,
    world_to_camera,
)
from dlcore.ops.checks import check_class_ids, check_finite, check_indices, check_spread
from dlcore.ops.convolution import conv_general_dilated
from dlcore.ops.cpu.dense import dense_dot_general, dense_product
from dlcore.ops.cpu.depthwise import (
    MAX_DEPTHWISE_TAPS,
    depthwise_conv,
    depthwise_kernel_gradient,
    depthwise_transpose,
)
from dlcore.ops.cpu.onednn import has_onednn, leave_out_of_cache, use_onednn, without_onednn
from dlcore.ops.deformable_convolution import deform_conv
from dlcore.ops.depth_maps import depth_to_normals
from dlcore.ops.fft_convolution import conv_fft
from dlcore.ops.filters import correlate_separable, gaussian_filter, sobel_filter
from dlcore.ops.fractional_pooling import fractional_max_pool, fractional_starts
from dlcore.ops.grid_sample import affine_grid, bilinear_sample, grid_sample
from dlcore.ops.im2col import col2im, conv_im2col, im2col
from dlcore.ops.kernels import is_kernel
from dlcore.ops.mask_paste import heatmaps_to_keypoints, paste_masks
from dlcore.ops.mesh import (
    adjacent_faces,
    check_mesh,
    euler_characteristic,
    face_areas,
    face_normals,
    icosphere,
    is_closed,
    mesh_edges,
    mesh_laplacian,
    mesh_volume,
    sample_mesh,
    subdivide_mesh,
    vertex_normals,
)
from dlcore.ops.moments import nearest_points, population_moments, squared_distances
from dlcore.ops.mu_law import mu_law_decode, mu_law_encode
from dlcore.ops.nms import nms, top_detections
from dlcore.ops.orthonormal import orthonormal_columns
from dlcore.ops.patches import patchify, unpatchify
from dlcore.ops.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from dlcore.ops.point_sets import check_points, nearest_neighbors, normalize_points, pad_points, stack_points
from dlcore.ops.pooling import avg_pool, global_avg_pool, max_pool
from dlcore.ops.resize import RESIZE_METHODS, resize
from dlcore.ops.roi import multiscale_roi_align, roi_align, roi_pool
from dlcore.ops.split_sequence import split_batch, split_sequence
from dlcore.ops.square_root import safe_sqrt
from dlcore.ops.surface_nets import surface_nets
from dlcore.ops.transposed_convolution import conv_transpose
from dlcore.ops.unpooling import bed_of_nails, max_pool_with_indices, max_unpool, nearest_unpool
from dlcore.ops.winograd import conv_winograd, winograd_multiplications

__all__ = [
    "MAX_DEPTHWISE_TAPS",
    "RESIZE_METHODS",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "adjacent_faces",
    "affine_grid",
    "assign",
    "avg_pool",
    "bed_of_nails",
    "bilinear_sample",
    "box_angle",
    "box_area",
    "box_convert",
    "box_iou",
    "box_union",
    "boxes_to_distances",
    "camera_center",
    "camera_matrix",
    "check_class_ids",
    "check_finite",
    "check_indices",
    "check_intrinsics",
    "check_mesh",
    "check_points",
    "check_spread",
    "clip_boxes",
    "col2im",
    "complete_box_iou",
    "conv_fft",
    "conv_general_dilated",
    "conv_im2col",
    "conv_macs",
    "conv_output_size",
    "conv_parameters",
    "conv_transpose",
    "conv_transpose_output_size",
    "conv_winograd",
    "convert_extrinsics",
    "correlate_separable",
    "decode_boxes",
    "deform_conv",
    "dense_dot_general",
    "dense_product",
    "depth_to_normals",
    "depthwise_conv",
    "depthwise_kernel_gradient",
    "depthwise_transpose",
    "distance_box_iou",
    "distances_to_boxes",
    "distort",
    "effective_kernel_size",
    "encode_boxes",
    "euler_characteristic",
    "face_areas",
    "face_normals",
    "fractional_max_pool",
    "fractional_starts",
    "gaussian_filter",
    "generalized_box_iou",
    "global_avg_pool",
    "grid_sample",
    "has_onednn",
    "heatmaps_to_keypoints",
    "icosphere",
    "im2col",
    "intrinsic_matrix",
    "is_closed",
    "is_kernel",
    "leave_out_of_cache",
    "look_at",
    "masks_to_boxes",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "mesh_edges",
    "mesh_laplacian",
    "mesh_volume",
    "mu_law_decode",
    "mu_law_encode",
    "multiscale_roi_align",
    "nearest_neighbors",
    "nearest_points",
    "nearest_unpool",
    "nms",
    "normalize_points",
    "orthonormal_columns",
    "pad_points",
    "paired_box_iou",
    "paste_masks",
    "patchify",
    "pixel_grid",
    "pixel_rays",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pixels_to_plane",
    "plane_to_pixels",
    "population_moments",
    "project",
    "receptive_field",
    "resize",
    "resize_boxes",
    "roi_align",
    "roi_pool",
    "rotation_from_vector",
    "safe_sqrt",
    "same_padding",
    "sample_mesh",
    "sobel_filter",
    "split_batch",
    "split_sequence",
    "squared_distances",
    "stack_points",
    "subdivide_mesh",
    "surface_nets",
    "top_detections",
    "undistort",
    "unpatchify",
    "unproject",
    "use_onednn",
    "vertex_normals",
    "winograd_multiplications",
    "without_onednn",
    "world_to_camera",
]
