;; The loop of live.js in WebAssembly, four numbers at a time; live_simd.js carries it,
;; assembled. For a block of four outputs, each tap adds its four weights times a number
;; of the source, which begins at 0; four neighbouring pixels are made at once. The four
;; outputs of a pixel lie side by side at $out. All places and steps are in bytes.
(module
  (memory (export "memory") 1)
  (func (export "slide")
    (param $offsets i32) (param $end i32)  ;; the list of the taps' places, its end
    (param $weights i32) (param $bias i32) (param $out i32)
    (param $height i32) (param $width i32)  ;; the width in steps of four pixels
    (param $down i32) (param $right i32)  ;; from pixel to pixel in the source
    (local $y i32) (local $x i32) (local $tap i32) (local $weight i32)
    (local $p i32) (local $i i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128) (local $w v128)
    (loop $rows
      (local.set $p (i32.mul (local.get $y) (local.get $down)))
      (local.set $x (i32.const 0))
      (loop $pixels
        (local.set $a (v128.load (local.get $bias)))
        (local.set $b (local.get $a))
        (local.set $c (local.get $a))
        (local.set $d (local.get $a))
        (local.set $tap (local.get $offsets))
        (local.set $weight (local.get $weights))
        (block $done
          (loop $taps
            (br_if $done (i32.eq (local.get $tap) (local.get $end)))
            (local.set $w (v128.load (local.get $weight)))
            (local.set $i (i32.add (local.get $p) (i32.load (local.get $tap))))
            (local.set $a (f32x4.add (local.get $a)
              (f32x4.mul (local.get $w) (v128.load32_splat (local.get $i)))))
            (local.set $i (i32.add (local.get $i) (local.get $right)))
            (local.set $b (f32x4.add (local.get $b)
              (f32x4.mul (local.get $w) (v128.load32_splat (local.get $i)))))
            (local.set $i (i32.add (local.get $i) (local.get $right)))
            (local.set $c (f32x4.add (local.get $c)
              (f32x4.mul (local.get $w) (v128.load32_splat (local.get $i)))))
            (local.set $i (i32.add (local.get $i) (local.get $right)))
            (local.set $d (f32x4.add (local.get $d)
              (f32x4.mul (local.get $w) (v128.load32_splat (local.get $i)))))
            (local.set $tap (i32.add (local.get $tap) (i32.const 4)))
            (local.set $weight (i32.add (local.get $weight) (i32.const 16)))
            (br $taps)))
        (v128.store (local.get $out) (local.get $a))
        (v128.store offset=16 (local.get $out) (local.get $b))
        (v128.store offset=32 (local.get $out) (local.get $c))
        (v128.store offset=48 (local.get $out) (local.get $d))
        (local.set $out (i32.add (local.get $out) (i32.const 64)))
        (local.set $p (i32.add (local.get $p)
          (i32.mul (local.get $right) (i32.const 4))))
        (local.set $x (i32.add (local.get $x) (i32.const 4)))
        (br_if $pixels (i32.lt_u (local.get $x) (local.get $width))))
      (local.set $y (i32.add (local.get $y) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $y) (local.get $height))))))
