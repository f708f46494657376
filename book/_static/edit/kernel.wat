;; The one thing that typed arrays alone are too slow for: a product of float32 matrices, four numbers at a time.
;;
;;     C = A B,   or   C = C + A B if $add is 1
;;
;; A is (m, k): its element (i, l) lies at $a + i $down + l $right, so that A may also be read transposed. B is (k, n) and
;; C is (m, n), row after row. $down and $right are in bytes. m is a multiple of 4, n of 8; none is 0.
;; C is made in tiles of 4 rows and 8 columns, which stay in eight registers while l runs over k.
;;
;; `python book/_ext/assemble.py` writes the bytes into kernel.js.
(module
  (import "page" "memory" (memory 1))
  (func (export "product")
    (param $a i32) (param $down i32) (param $right i32) (param $b i32) (param $c i32)
    (param $m i32) (param $n i32) (param $k i32) (param $add i32)
    (local $i i32) (local $j i32) (local $l i32) (local $width i32) (local $down2 i32) (local $down3 i32)
    (local $p i32) (local $q i32) (local $o i32) (local $o1 i32) (local $o2 i32) (local $o3 i32)
    (local $zero v128) (local $s v128) (local $left v128) (local $rest v128)
    (local $c0 v128) (local $d0 v128) (local $c1 v128) (local $d1 v128)
    (local $c2 v128) (local $d2 v128) (local $c3 v128) (local $d3 v128)
    (local.set $width (i32.shl (local.get $n) (i32.const 2)))
    (local.set $down2 (i32.shl (local.get $down) (i32.const 1)))
    (local.set $down3 (i32.add (local.get $down2) (local.get $down)))
    (loop $columns
      (local.set $i (i32.const 0))
      (loop $rows
        (local.set $p (i32.add (local.get $a) (i32.mul (local.get $i) (local.get $down))))
        (local.set $q (i32.add (local.get $b) (i32.shl (local.get $j) (i32.const 2))))
        (local.set $o (i32.add
          (i32.add (local.get $c) (i32.mul (local.get $i) (local.get $width)))
          (i32.shl (local.get $j) (i32.const 2))))
        (local.set $o1 (i32.add (local.get $o) (local.get $width)))
        (local.set $o2 (i32.add (local.get $o1) (local.get $width)))
        (local.set $o3 (i32.add (local.get $o2) (local.get $width)))
        (if (local.get $add)
          (then
            (local.set $c0 (v128.load (local.get $o))) (local.set $d0 (v128.load offset=16 (local.get $o)))
            (local.set $c1 (v128.load (local.get $o1))) (local.set $d1 (v128.load offset=16 (local.get $o1)))
            (local.set $c2 (v128.load (local.get $o2))) (local.set $d2 (v128.load offset=16 (local.get $o2)))
            (local.set $c3 (v128.load (local.get $o3))) (local.set $d3 (v128.load offset=16 (local.get $o3))))
          (else
            (local.set $c0 (local.get $zero)) (local.set $d0 (local.get $zero))
            (local.set $c1 (local.get $zero)) (local.set $d1 (local.get $zero))
            (local.set $c2 (local.get $zero)) (local.set $d2 (local.get $zero))
            (local.set $c3 (local.get $zero)) (local.set $d3 (local.get $zero))))
        (local.set $l (local.get $k))
        (loop $inner
          (local.set $left (v128.load (local.get $q)))
          (local.set $rest (v128.load offset=16 (local.get $q)))
          (local.set $s (v128.load32_splat (local.get $p)))
          (local.set $c0 (f32x4.add (local.get $c0) (f32x4.mul (local.get $s) (local.get $left))))
          (local.set $d0 (f32x4.add (local.get $d0) (f32x4.mul (local.get $s) (local.get $rest))))
          (local.set $s (v128.load32_splat (i32.add (local.get $p) (local.get $down))))
          (local.set $c1 (f32x4.add (local.get $c1) (f32x4.mul (local.get $s) (local.get $left))))
          (local.set $d1 (f32x4.add (local.get $d1) (f32x4.mul (local.get $s) (local.get $rest))))
          (local.set $s (v128.load32_splat (i32.add (local.get $p) (local.get $down2))))
          (local.set $c2 (f32x4.add (local.get $c2) (f32x4.mul (local.get $s) (local.get $left))))
          (local.set $d2 (f32x4.add (local.get $d2) (f32x4.mul (local.get $s) (local.get $rest))))
          (local.set $s (v128.load32_splat (i32.add (local.get $p) (local.get $down3))))
          (local.set $c3 (f32x4.add (local.get $c3) (f32x4.mul (local.get $s) (local.get $left))))
          (local.set $d3 (f32x4.add (local.get $d3) (f32x4.mul (local.get $s) (local.get $rest))))
          (local.set $p (i32.add (local.get $p) (local.get $right)))
          (local.set $q (i32.add (local.get $q) (local.get $width)))
          (br_if $inner (local.tee $l (i32.sub (local.get $l) (i32.const 1)))))
        (v128.store (local.get $o) (local.get $c0)) (v128.store offset=16 (local.get $o) (local.get $d0))
        (v128.store (local.get $o1) (local.get $c1)) (v128.store offset=16 (local.get $o1) (local.get $d1))
        (v128.store (local.get $o2) (local.get $c2)) (v128.store offset=16 (local.get $o2) (local.get $d2))
        (v128.store (local.get $o3) (local.get $c3)) (v128.store offset=16 (local.get $o3) (local.get $d3))
        (br_if $rows (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 4))) (local.get $m))))
      (br_if $columns (i32.lt_s (local.tee $j (i32.add (local.get $j) (i32.const 8))) (local.get $n))))))
