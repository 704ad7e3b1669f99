public import EspalierBasics
extension Architecture {
  public func configuration(_ config: JSON, keepingLayers: [Int], of tower: String?) throws(Problem) -> JSON {
    var config = config
    config["num_hidden_layers"] = .number(keepingLayers.count)
    return config
  }
}
