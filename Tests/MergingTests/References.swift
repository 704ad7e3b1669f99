import EspalierBasics
import EspalierMerging
import EspalierNumerics

/// Every deterministic method again, in float64 on whole arrays, straight from its published formula.
///
/// Slow and plain on purpose: sorts instead of selection, no blocks, no shared code with what it is compared to.
struct Reference {
  let merge: TestMerge
  let parameters: MergeParameters
  /// Inputs with the base first, if there is one.
  let inputs: [[Double]]
  /// d_i, in float32 as the checkpoint's own precision is: the difference of two float32 values is rounded once.
  private let deltas: [[Double]]

  init(_ merge: TestMerge) {
    self.merge = merge
    parameters = merge.parameters()
    inputs = merge.inputs.map { $0.map(Double.init) }
    deltas = merge.inputs.dropFirst().map { zip($0, merge.inputs[0]).map { Double($0 - $1) } }
  }

  static func result(_ merge: TestMerge) -> [Double] { Reference(merge).result() }

  private var count: Int { inputs[0].count }
  private var base: [Double] { inputs[0] }
  private var others: [[Double]] { Array(inputs.dropFirst()) }

  private func number(_ name: String) -> Double {
    if case .number(let value)? = parameters.shared[name] { value } else { .nan }
  }

  private func flag(_ name: String) -> Bool { parameters.shared[name] == .flag(true) }

  private func each(_ name: String) -> [Double] {
    parameters.inputs.dropFirst(merge.hasBase ? 1 : 0).map {
      if case .number(let value)? = $0[name] { value } else { .nan }
    }
  }

  private func result() -> [Double] {
    switch merge.method {
    case "linear": linear()
    case "slerp": slerp()
    case "nuslerp": nuSlerp()
    case "multislerp": multiSlerp()
    case "karcher": karcher()
    case "model_stock": modelStock()
    case "sce": sce()
    case "nearswap": nearSwap()
    case "ram": ram(lambda: others.map { _ in 1 })
    case "ramplus_tl": ram(lambda: ramLambdas())
    case "passthrough": inputs[0].map { $0 * (each("scale")[0].isNaN ? 1 : each("scale")[0]) }
    default: delta()
    }
  }

  // MARK: - Vectors

  private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
  private func norm(_ a: [Double]) -> Double { dot(a, a).squareRoot() }
  private func scaled(_ a: [Double], _ factor: Double) -> [Double] { a.map { $0 * factor } }
  private func sum(_ vectors: [[Double]]) -> [Double] {
    vectors.dropFirst().reduce(vectors[0]) { zip($0, $1).map(+) }
  }
  private func weighted(_ vectors: [[Double]], _ weights: [Double]) -> [Double] {
    sum(zip(vectors, weights).map { scaled($0, $1) })
  }

  // MARK: - Averages

  private func linear() -> [Double] {
    let weights = each("weight")
    let divisor = flag("normalize") ? weights.reduce(0, +) : 1
    return weighted(inputs, weights).map { $0 / divisor }
  }

  private func nearSwap() -> [Double] {
    zip(base, others[0]).map { b, x in
      let w = min(1, max(0, number("t") / max(abs(b - x), 1e-6)))
      return w * x + (1 - w) * b
    }
  }

  private func modelStock() -> [Double] {
    let length = flag("filter_wise") ? max(1, merge.shape.last ?? 1) : max(1, count)
    return stride(from: 0, to: count, by: length).flatMap { start -> [Double] in
      let rows = inputs.map { Array($0[start..<start + length]) }
      let changes = rows.dropFirst().map { zip($0, rows[0]).map(-) }
      let n = changes.count
      var cosines: [Double] = []
      for i in 0..<n {
        for j in i + 1..<n {
          let cosine = dot(changes[i], changes[j]) / max(norm(changes[i]) * norm(changes[j]), 1e-6)
          cosines.append(min(1, max(-1, cosine)))
        }
      }
      let c = cosines.reduce(0, +) / Double(cosines.count)
      let denominator = 1 + Double(n - 1) * c
      let t = abs(denominator) < 1e-6 ? 0 : Double(n) * c / denominator
      let mean = sum(Array(rows.dropFirst())).map { $0 / Double(n) }
      return zip(mean, rows[0]).map { t * $0 + (1 - t) * $1 }
    }
  }

  // MARK: - On the sphere

  private func slerp(_ a: [Double], _ b: [Double], t: Double, cosine: Double, line: Bool) -> [Double] {
    guard !line else { return weighted([a, b], [1 - t, t]) }
    let angle = Elementary.acos(cosine)
    return weighted(
      [a, b],
      [
        Elementary.sin((1 - t) * angle) / Elementary.sin(angle),
        Elementary.sin(t * angle) / Elementary.sin(angle),
      ])
  }

  private func slerp() -> [Double] {
    let norms = inputs.map { norm($0) > 1e-8 ? norm($0) : 1 }
    let cosine = min(1, max(-1, dot(inputs[0], inputs[1]) / (norms[0] * norms[1])))
    return slerp(inputs[0], inputs[1], t: number("t"), cosine: cosine, line: abs(cosine) > 0.9995)
  }

  private func nuSlerp() -> [Double] {
    let weights = each("weight")
    let total = weights[0] + weights[1]
    let t = abs(total) < 1e-6 ? 0.5 : weights[1] / total
    let origin = merge.hasBase ? base : [Double](repeating: 0, count: count)
    let vectors = (merge.hasBase ? others : inputs).map { zip($0, origin).map(-) }
    var result = origin
    for group in groups() {
      let (a, b) = (group.map { vectors[0][$0] }, group.map { vectors[1][$0] })
      let cosine = min(1, max(-1, dot(a, b) / (max(norm(a), 1e-7) * max(norm(b), 1e-7))))
      let mixed = slerp(a, b, t: t, cosine: cosine, line: 1 - cosine * cosine <= 1e-16)
      for (index, value) in zip(group, mixed) { result[index] += value }
    }
    return result
  }

  /// Indices of the vectors that nuslerp interpolates: all, rows along the last axis, or columns along the first.
  private func groups() -> [[Int]] {
    if flag("nuslerp_flatten") { return [Array(0..<count)] }
    let width = flag("nuslerp_row_wise") ? merge.shape.dropFirst().reduce(1, *) : merge.shape.last ?? 1
    if flag("nuslerp_row_wise") {
      return (0..<width).map { column in Array(stride(from: column, to: count, by: width)) }
    }
    return stride(from: 0, to: count, by: width).map { Array($0..<$0 + width) }
  }

  /// With the tangent step of mergekit, which is zero in exact arithmetic.
  private func multiSlerp() -> [Double] {
    let eps = number("eps")
    let origin = merge.hasBase ? base : [Double](repeating: 0, count: count)
    let vectors = (merge.hasBase ? others : inputs).map { zip($0, origin).map(-) }
    guard vectors.count > 1 else { return sum([origin, vectors[0]]) }
    let total = each("weight").reduce(0, +)
    let w = flag("normalize_weights") ? each("weight").map { $0 / total } : each("weight")
    let units = vectors.map { scaled($0, 1 / (norm($0) + eps)) }
    let m = weighted(units, w)
    guard norm(m) >= eps else { return sum([origin, weighted(vectors, w)]) }
    let direction = scaled(m, 1 / norm(m))
    let tangents = units.map { u in zip(u, direction).map { $0 - dot(u, direction) * $1 } }
    let tangent = weighted(tangents, w)
    let s = norm(tangent) + eps
    let length = zip(w, vectors).reduce(0) { $0 + $1.0 * norm($1.1) }
    let mapped = weighted([direction, tangent], [Elementary.cos(s), Elementary.sin(s) / s])
    return sum([origin, scaled(mapped, length)])
  }

  private func karcher() -> [Double] {
    let tolerance = number("tol")
    let norms = inputs.map { norm($0) }
    let units = zip(inputs, norms).filter { $1 > tolerance }.map { scaled($0, 1 / $1) }
    guard !units.isEmpty else { return inputs[0].map { _ in 0 } }
    let length = norms.reduce(0, +) / Double(inputs.count)
    let alpha = [Double](repeating: 1 / Double(units.count), count: units.count)
    var mean = weighted(units, alpha)
    mean = norm(mean) < tolerance ? units[0] : scaled(mean, 1 / norm(mean))
    for _ in 0..<Int(number("max_iter")) {
      var step = [Double](repeating: 0, count: count)
      for (unit, a) in zip(units, alpha) {
        let cosine = min(1, max(-1, dot(mean, unit)))
        let angle = Elementary.acos(cosine)
        guard angle >= tolerance else { continue }
        step = sum([step, zip(unit, mean).map { a * angle / Elementary.sin(angle) * ($0 - cosine * $1) }])
      }
      let size = norm(step)
      guard size >= tolerance else { break }
      mean = weighted([mean, step], [Elementary.cos(size), Elementary.sin(size) / size])
      mean = scaled(mean, 1 / norm(mean))
    }
    return scaled(mean, length)
  }

  // MARK: - Changes to a base

  /// Task arithmetic and its descendants, the random ones at a density of 1.
  private func delta() -> [Double] {
    let weights = each("weight")
    let changes = zip(zip(deltas, each("density")), gammas).map { sparsify($0.0, density: $0.1, gamma: $1) }
    let shares = zip(changes, weights).map { scaled($0, $1) }
    let elects = ["ties", "dare_ties", "breadcrumbs_ties", "della"].contains(merge.method)
    let total = weights.reduce(0, +)
    return (0..<count).map { index in
      let values = shares.map { $0[index] }
      let sign = values.reduce(0, +) >= 0 ? 1.0 : -1.0
      let agrees = values.map { !elects || $0 * sign > 0 }
      let mix = zip(values, agrees).reduce(0) { $0 + ($1.1 ? $1.0 : 0) }
      var divisor = elects ? zip(weights, agrees).reduce(0) { $0 + ($1.1 ? $1.0 : 0) } : total
      if elects ? divisor == 0 : abs(divisor) < 1e-8 { divisor = 1 }
      return base[index] + number("lambda") * (flag("normalize") ? mix / divisor : mix)
    }
  }

  private var gammas: [Double] { each("gamma").map { $0.isNaN ? 0 : $0 } }

  private func sparsify(_ change: [Double], density: Double, gamma: Double) -> [Double] {
    guard density < 1 else { return change }
    let n = change.count
    var kept = [Double](repeating: 0, count: n)
    if merge.method == "ties" {
      let wanted = density <= 0 ? 0 : max(1, Int(density * Double(n)))
      for index in ranked(change, descending: true).prefix(wanted) { kept[index] = change[index] }
    } else {
      let target = Int(density * Double(n))
      let low = max(0, n - target - Int(gamma * Double(n)))
      for index in ranked(change, descending: false)[low..<low + target] { kept[index] = change[index] }
    }
    guard parameters.shared["rescale"] == .flag(true) || parameters.shared["rescale"] == .word("l1") else {
      return kept
    }
    let (before, after) = (change.reduce(0) { $0 + abs($1) }, kept.reduce(0) { $0 + abs($1) })
    return before < 1e-7 || after < 1e-7 ? kept : scaled(kept, before / after)
  }

  /// Indices by magnitude, the lower index first among equals.
  private func ranked(_ values: [Double], descending: Bool) -> [Int] {
    values.indices.sorted { a, b in
      let (x, y) = (abs(values[a]), abs(values[b]))
      return x == y ? a < b : (x > y) == descending
    }
  }

  /// Variances are compared as float32, as they are documented to be ranked.
  private func sce() -> [Double] {
    var changes = deltas
    if number("select_topk") < 1 {
      let variances = (0..<count).map { index -> Double in
        let values = changes.map { $0[index] }
        let mean = values.reduce(0, +) / Double(values.count)
        return Double(Float(values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)))
      }
      let wanted = Int(number("select_topk") * Double(variances.filter { $0 != 0 }.count))
      let kept = Set(ranked(variances, descending: true).prefix(wanted))
      changes = changes.map { change in change.indices.map { kept.contains($0) ? change[$0] : 0 } }
    }
    let squares = changes.map { dot($0, $0) / Double(max(1, count)) }
    let total = squares.reduce(0, +)
    let q = total < 1e-6 ? squares.map { _ in 1 / Double(squares.count) } : squares.map { $0 / total }
    return (0..<count).map { index in
      let values = changes.map { $0[index] }
      let sign = values.reduce(0, +) >= 0 ? 1.0 : -1.0
      let shares = zip(values, q).map { $0 * sign > 0 ? $1 : 0 }
      return base[index] + dot(shares, values) / max(shares.reduce(0, +), 1e-6)
    }
  }

  private func changed(_ index: Int) -> [Bool] { deltas.map { abs($0[index]) > number("epsilon") } }

  private func ram(lambda: [Double]) -> [Double] {
    let changes = deltas
    return (0..<count).map { index in
      let changed = changed(index)
      let models = changed.indices.filter { changed[$0] }
      guard models.count != 1 else { return base[index] + lambda[models[0]] * changes[models[0]][index] }
      return base[index] + models.reduce(0) { $0 + changes[$1][index] } / Double(max(1, models.count))
    }
  }

  private func ramLambdas() -> [Double] {
    var unique = [Double](repeating: 0, count: others.count)
    var shared = unique
    for index in 0..<count {
      let changed = changed(index)
      let several = changed.filter { $0 }.count > 1
      for model in changed.indices where changed[model] {
        if several { shared[model] += 1 } else { unique[model] += 1 }
      }
    }
    return zip(shared, unique).map { 1 + number("r") * min(number("alpha"), max(0, $0 / max($1, number("epsilon")))) }
  }
}
