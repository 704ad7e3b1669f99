extension Array where Element == Int {
  var checkedProduct: Int? {
    var product = 1
    for size in self {
      let (value, overflow) = product.multipliedReportingOverflow(by: size)
      if overflow || size < 0 { return nil }
      product = value
    }
    return product
  }
}
